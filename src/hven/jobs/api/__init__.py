"""What plug-in packages use of this package, by topic. These names stay as they are."""
