"""Selected real images as a condensed set: the baselines a condensed set has to beat.

Random, herding, k-center and forgetting, as the tables of DC, DM and CAFE have them, the latter and
herding by two rules, k-means, and crops as RDED takes them. To add one: a function like
:func:`select_herding`, and a line in ``SELECTIONS``.
"""

from condensery.methods.clusters import k_means as k_means

from .api import select as select
from .greedy import ForgettingEvents as ForgettingEvents
from .greedy import herding as herding
from .greedy import k_center as k_center
from .greedy import most_forgettable as most_forgettable
from .greedy import nearest as nearest
from .methods import SELECTIONS as SELECTIONS
from .methods import select_forgetting as select_forgetting
from .methods import select_forgetting_toneva as select_forgetting_toneva
from .methods import select_herding as select_herding
from .methods import select_k_center as select_k_center
from .methods import select_kmeans as select_kmeans
from .methods import select_nearest as select_nearest
from .methods import select_random as select_random
from .networks import Networks as Networks
from .rded import select_rded as select_rded
from .settings import SelectionTraining as SelectionTraining
