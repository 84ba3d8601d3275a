"""What is made from the program for `man` and the shells."""
