"""Where the tests find what lies beside them."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE = ROOT / "rfm_recsys"
DOCS = ROOT / "docs"
DATA = ROOT.parent / "shared" / "data"  # not part of the project: what needs it skips where it is not there
