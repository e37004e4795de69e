# SPDX-License-Identifier: GPL-3.0-or-later
"""What is drawn in sidebar, dialogs and preferences; it names operators and never imports them, and
may import `orders`, `runtime` and what is below them."""
