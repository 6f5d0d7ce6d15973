"""The field's networks by name, and any ``torch.nn.Module`` by import path.

A network is named by a spec, ``NAME[:key=value[,key=value…]]``: ``convnet3``,
``convnet3:norm=batch``, ``vgg11:norm=instance`` or ``my.package:Net:width=32``. Every network has
one linear classifier on top of an embedding, which :func:`embed` gives.
"""

from .judged import Judged
from .views import chain, embed, embed_and_classify, features, has_batch_norm, mixes_examples
from .zoo import (
    about,
    build,
    describe,
    families,
    import_path,
    is_import_path,
    names,
    parameters,
    try_out,
    with_norm,
)

__all__ = [
    "Judged",
    "about",
    "build",
    "chain",
    "describe",
    "embed",
    "embed_and_classify",
    "families",
    "features",
    "has_batch_norm",
    "import_path",
    "is_import_path",
    "mixes_examples",
    "names",
    "parameters",
    "try_out",
    "with_norm",
]
