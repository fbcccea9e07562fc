"""The screens of the desk: a light for the customer at the counter, on the phone or online."""
