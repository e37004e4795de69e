"""Whether a clip can work: looked at before the fit, after the priors and after the fit.

Pure functions from frames, masks, priors and a puppet to `findings.Finding`; `thresholds` says what
is too much.
"""
