"""Let readers collect rows of several tables in a basket, and download or share them."""
