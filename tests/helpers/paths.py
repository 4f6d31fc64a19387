"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
SHARED_DATA = ROOT.parent / "shared" / "data"  # real corpora; tests that want them skip without
