"""Which folders are packages. Everything else is said in setup.cfg.

`paradigms/` stands at the top, where paradigms are written, and is installed as ``activebmr.paradigms``: nobody's own
module ``paradigms`` is hidden by it.
"""

from setuptools import find_packages, setup

paradigms = find_packages(include=["paradigms", "paradigms.*"])
setup(
    packages=sorted({*find_packages(include=["activebmr", "activebmr.*"]), *(f"activebmr.{name}" for name in paradigms)}),
    package_dir={"activebmr.paradigms": "paradigms"},
)
