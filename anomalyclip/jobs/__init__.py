"""The stages of the commands in `workflows/`: each takes what the one before it handed on."""
