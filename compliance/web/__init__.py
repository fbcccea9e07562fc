"""The screens of hub and node: pages, forms, languages and manners, with no rule of its own."""
