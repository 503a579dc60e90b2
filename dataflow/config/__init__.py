"""topics.yaml: its model, its loader and the topics that follow from it."""

from dataflow.config.loader import load_config, load_declaration, locate, parse_config
from dataflow.config.model import (
    BalancingConfig,
    BatchConfig,
    ClusterConfig,
    Config,
    FunctionConfig,
    PipelineConfig,
    QueueConfig,
    ResultsConfig,
    RouteConfig,
    StepConfig,
)
from dataflow.config.topics import TopicNames, TopicSpec, declared_topics

__all__ = [
    "BalancingConfig",
    "BatchConfig",
    "ClusterConfig",
    "Config",
    "FunctionConfig",
    "PipelineConfig",
    "QueueConfig",
    "ResultsConfig",
    "RouteConfig",
    "StepConfig",
    "TopicNames",
    "TopicSpec",
    "declared_topics",
    "load_config",
    "load_declaration",
    "locate",
    "parse_config",
]
