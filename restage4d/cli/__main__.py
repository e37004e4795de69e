import sys

from restage4d.cli.main import main

sys.exit(main())
