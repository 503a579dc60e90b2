"""Model serving in simulated time: emulated GPUs under the real placers and autoscalers."""
