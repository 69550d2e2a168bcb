"""Result files are kept: copied before their links die, served for as long as they are needed, and deleted after."""
