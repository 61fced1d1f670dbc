"""Sources of text: files of any kind, data sets, the built-in language. One file a kind."""
