#!/bin/sh
# Install torch first, from the place of its variant: sh torch.sh cpu|cuda PIP
set -eu
variant=$1 pip=$2
case $variant in
  cpu) exec "$pip" install "torch>=2.9,<2.16" --index-url https://download.pytorch.org/whl/cpu ;;
  cuda) exec "$pip" install "torch>=2.9,<2.16" ;;
  *) echo "VARIANT is cpu or cuda, not $variant" >&2; exit 2 ;;
esac
