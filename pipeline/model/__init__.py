"""What has gradients: the language model tower, the item table, the mixer."""
