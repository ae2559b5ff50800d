# SPDX-License-Identifier: MIT
"""The extension `localq._native`: what pyproject.toml cannot say.

LOCALQ_BUILD=release (default) | debug | asan chooses the flags. An asan build needs the sanitizer's runtime loaded
first: `LD_PRELOAD="$(cc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 python ...`.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
BUILDS = {  # LOCALQ_BUILD: (flags of the compiler, flags of the linker)
    "release": (["-O3", "-g0", "-DNDEBUG", "-fvisibility=hidden"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "asan": (["-O1", "-g", "-UNDEBUG", *SANITIZE], SANITIZE),
}

build = os.environ.get("LOCALQ_BUILD", "release")
if build not in BUILDS:
    raise SystemExit(f"LOCALQ_BUILD is {build!r}; it must be one of: {', '.join(BUILDS)}")
compile_flags, link_flags = BUILDS[build]

native = Extension(
    "localq._native",
    ["native/_native.pyx", *sorted(glob("native/lq_*.c"))],
    include_dirs=["native"],
    # a path named here is rebuilt from when it changes, and travels in the sdist
    depends=sorted(glob("native/*.h") + glob("native/*.pxd") + glob("native/*.pxi")),
    extra_compile_args=["-std=c11", "-Wall", "-Wextra", *compile_flags],
    extra_link_args=link_flags,
)

setup(ext_modules=cythonize([native], build_dir="build", language_level=3))
