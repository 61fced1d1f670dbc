"""What opens the models that the foundry saves, tried out: other versions, other tools."""
