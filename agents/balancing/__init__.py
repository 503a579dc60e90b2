"""Balancers of function replicas: the pure core of VIDEOJAM, and what it is compared with.

Nothing here does I/O or reads a clock. See docs/balancing.md for how a shell drives a balancer.
"""

from agents.balancing.actions import Action, Actions, Offload, PublishState, SendSignal
from agents.balancing.balancer import Balancer
from agents.balancing.baselines import NoBalancing, RoundRobin, ShortestQueue, WeightedRoundRobin
from agents.balancing.dispatcher import Dispatcher, Peer
from agents.balancing.links import Links
from agents.balancing.member import Member
from agents.balancing.monitor import Monitor, Rate
from agents.balancing.order import Fifo, Order, ThesisOrder, make_order
from agents.balancing.overload import Admission, CapacityEvent, Demand, Overload, max_min, shed
from agents.balancing.policy import Policy, Transfer, compute_policy
from agents.balancing.pull import SharedQueue
from agents.balancing.registry import BALANCERS, BalancerFactory, Place, make_balancer
from agents.balancing.settings import BalancingSettings
from agents.balancing.signals import (
    CongestionRisk,
    InformationRequest,
    Priority,
    Signal,
    StateUpdate,
    WorkRequest,
    decode_signal,
    priority,
)
from agents.balancing.table import StateTable, View
from agents.balancing.values import Forecast, Queue, Relayed, Row, Waiting
from agents.balancing.videojam import VideoJam, last_window

__all__ = [
    "BALANCERS",
    "Action",
    "Actions",
    "Admission",
    "Balancer",
    "BalancerFactory",
    "BalancingSettings",
    "CapacityEvent",
    "CongestionRisk",
    "Demand",
    "Dispatcher",
    "Fifo",
    "Forecast",
    "InformationRequest",
    "Links",
    "Member",
    "Monitor",
    "NoBalancing",
    "Offload",
    "Order",
    "Overload",
    "Peer",
    "Place",
    "Policy",
    "Priority",
    "PublishState",
    "Queue",
    "Rate",
    "Relayed",
    "RoundRobin",
    "Row",
    "SendSignal",
    "SharedQueue",
    "ShortestQueue",
    "Signal",
    "StateTable",
    "StateUpdate",
    "ThesisOrder",
    "Transfer",
    "VideoJam",
    "View",
    "Waiting",
    "WeightedRoundRobin",
    "WorkRequest",
    "compute_policy",
    "decode_signal",
    "last_window",
    "make_balancer",
    "make_order",
    "max_min",
    "priority",
    "shed",
]
