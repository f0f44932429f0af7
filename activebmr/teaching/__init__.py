"""What the notebooks in ``docs/notebooks`` are made with: checks of exercises, small pictures, a recording of a class.

    >>> from activebmr.teaching import check, draw, example_recording
    >>> check.surprise_of_blue(0.3)
    almost: that is how probable a blue ball is; its surprise is minus the logarithm of that
    >>> axes = draw.bars({"mostly red": 0.75, "mostly blue": 0.25}, "belief")

The recording was made by simulated students; no human being was recorded.
"""

from activebmr.teaching import check, draw
from activebmr.teaching.recordings import example_recording
from activebmr.teaching.remark import Remark

__all__ = ["Remark", "check", "draw", "example_recording"]
