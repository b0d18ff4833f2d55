"""Which trials run: one file per sweep, and the engine that runs them; and the Python API."""

from sweeps._api import export as export
from sweeps._api import load as load
from sweeps._api import recommend as recommend
from sweeps._api import run as run
