"""YAML → typed recipe and back; the catalogue of architectures. An unknown key is an error that names the nearest one."""
