"""How the work runs on this device: plans, layouts of network calls, one matching step."""

from .matching import Matcher as Matcher
from .plan import Plan as Plan
from .plan import choose_plan as choose_plan
from .plan import exact_plan as exact_plan
