"""The policies that can be replayed: one small file each; ``registry`` lists them."""
