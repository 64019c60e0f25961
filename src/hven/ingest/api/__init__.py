"""What other packages use of this package, plug-in packages among them, by topic. These names stay as they are."""
