"""An interpreter of saved Core ML ML programs: reads a package back and runs it with torch."""
