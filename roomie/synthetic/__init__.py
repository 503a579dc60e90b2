"""Plausible kernel profiles computed from a network's layers, where no GPU can be had.

`walk` records the operators and shapes of a torch network without running it; `families` turns an
operator into kernel launches; `timing` says how long they take. Only `walk` needs torch. Launch
configurations and efficiencies come from one real trace (AlexNet on an A100), whatever it does not
show is an assumption that says so. Every profile made here is marked ``synthetic``.
"""
