"""How datasets are made: the model services chained, shard by shard. Without torch: its image has none."""
