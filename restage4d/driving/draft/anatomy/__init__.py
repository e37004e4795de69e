"""From a subject's mask and footage to its body plan: limbs, which end is the head, and how sure
that is."""
