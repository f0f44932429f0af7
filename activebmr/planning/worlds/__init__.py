"""Planning of agents that believe in worlds (`activebmr.inference.worlds`)."""
