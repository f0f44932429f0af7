"""Which folders are packages. Everything else is said in setup.cfg.

`paradigms/` stands at the top, where paradigms are written, and is installed as ``activebmr.paradigms``: nobody's own
module ``paradigms`` is hidden by it. Whoever installs the clone itself (``pip install -e .``) also gets it as ``paradigms``,
the name under which it stands there.
"""

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

paradigms = find_packages(include=["paradigms", "paradigms.*"])


class FromClone(editable_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.distribution.packages = sorted({*self.distribution.packages, *paradigms})


setup(
    packages=sorted({*find_packages(include=["activebmr", "activebmr.*"]), *(f"activebmr.{name}" for name in paradigms)}),
    package_dir={"activebmr.paradigms": "paradigms"},
    cmdclass={"editable_wheel": FromClone},
)
