"""Checks that other versions and other tools open the models that the foundry saves."""
