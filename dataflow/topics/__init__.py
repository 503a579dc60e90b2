"""Comparing topics.yaml with a cluster, and making the cluster follow it."""

from dataflow.topics.apply import (
    apply_plan,
    count_records,
    create_declared_topics,
    delete_topics,
    make_plan,
    select_for_deletion,
    topics_of,
)
from dataflow.topics.plan import (
    AddPartitions,
    Change,
    Create,
    FewerPartitions,
    Plan,
    Refusal,
    ReplicationDiffers,
    SetConfig,
    Shrink,
    Unwritable,
    plan_deployment,
    plan_topics,
)

__all__ = [
    "AddPartitions",
    "Change",
    "Create",
    "FewerPartitions",
    "Plan",
    "Refusal",
    "ReplicationDiffers",
    "SetConfig",
    "Shrink",
    "Unwritable",
    "apply_plan",
    "count_records",
    "create_declared_topics",
    "delete_topics",
    "make_plan",
    "plan_deployment",
    "plan_topics",
    "select_for_deletion",
    "topics_of",
]
