"""What the vendor said that nobody knew: gathered in memory, and kept in a bounded number of rows."""
