"""Play: a person in the place of the agent, in the browser or in a shell, and afterwards beside it.

A `Setting` says which game is played, a `Game` is one person's, a `Journal` keeps what everybody played, and `debrief` sets a
person beside an observer of what he saw and beside the agent in his world. `Room` and `server` do that for many people in their
browsers, `terminal` for one in a shell; the command is ``activebmr play``.

    >>> from activebmr.play.debrief import debrief
    >>> from activebmr.play.game import Game
    >>> from activebmr.play.setting import Setting
    >>> from activebmr.paradigms import three_ball
    >>> game = Game(Setting(three_ball.paradigm("paper"), three_ball.paradigm("reasoning"), n_trials=1))
    >>> game.begin()
    >>> for time, gaze in enumerate((0, 1, 2, 3, 3)):  # look at every ball, then answer "red"
    ...     over = game.move(0, time, [0, 0, 0, gaze, 0 if time == 4 else 3])
    >>> told = debrief(game)
    >>> told["observer"]["scheme"], len(told["observer"]["trials"][0]), told["observer"]["sure"]
    ('reasoning', 6, None)
"""
