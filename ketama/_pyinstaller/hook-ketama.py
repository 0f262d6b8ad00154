"""What PyInstaller cannot see in ketama's code: cffi's backend, imported by ketama._ketama."""

hiddenimports = ["_cffi_backend"]
