"""The epoch: whose key is in force, until when, who may ask how much, who may publish."""
