"""Paradigms: worked experiments for activebmr agents. They are written here and imported as ``activebmr.paradigms``.

Where a checkout is the working folder, ``import paradigms.maze`` gives the same module as ``import activebmr.paradigms.maze``:
not a second one, whose classes would be others. What is installed takes no name but ``activebmr``.
"""

if __name__ == "paradigms":
    import sys
    from importlib import import_module
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    class _OtherName:
        """Finds and loads ``paradigms.x`` by importing ``activebmr.paradigms.x`` and putting it in its place."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, _OtherName) if name.startswith("paradigms.") else None

        @staticmethod
        def create_module(spec: ModuleSpec) -> ModuleType | None:
            return None  # an empty one, until it is known that there is something to take its place

        @staticmethod
        def exec_module(module: ModuleType) -> None:
            name = f"activebmr.{module.__name__}"
            sys.modules[module.__name__] = import_module(name)
            # what a package imports of itself is taken along: imported again, a module `maps` would take the place of the
            # function `maps` that its package has taken from it
            for loaded in [m for m in sys.modules if m.startswith(f"{name}.")]:
                sys.modules[loaded.removeprefix("activebmr.")] = sys.modules[loaded]

    sys.meta_path.insert(0, _OtherName)
