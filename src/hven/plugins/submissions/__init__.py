"""Submissions: users send files, see what is wrong with them, complete their rows, and publish all in one step."""
