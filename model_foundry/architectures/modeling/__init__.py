"""Modelling code that is saved beside the models it belongs to.

Its files import only torch, transformers and each other, so that a process without this package
can load a recurrent model with `trust_remote_code=True`.
"""
