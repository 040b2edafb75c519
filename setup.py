"""The one thing that setup.cfg cannot say: the README as a package index shows it, where links to the repository's own files
and pictures would lead nowhere. The links keep their text, the pictures are left out; links to other sites stay."""
import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"^!\[[^]]*\]\((?!https?://)[^)]*\)\n\n?", re.MULTILINE)
LINK = re.compile(r"\[([^]]*)\]\((?!https?://)[^)]*\)")

readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
setup(long_description=LINK.sub(r"\1", PICTURE.sub("", readme)), long_description_content_type="text/markdown")
