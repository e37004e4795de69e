"""Numbers of 3D Gaussian splatting that every backend shares; the values are those of gsplat
1.5.3's CUDA kernels."""

MAX_ALPHA = (
    0.999  # one Gaussian's alpha is clamped here; above, its shape and opacity get no gradient
)
MIN_ALPHA = 1.0 / 255.0  # fainter contributions are skipped
MIN_TRANSMITTANCE = 1e-4  # a pixel stops before the Gaussian that would take it to this or below
MAX_EXTENT = (
    3.33  # footprint radius in standard deviations where the opacity does not make it smaller
)
FOV_MARGIN = 0.3  # the projection's Jacobian is taken no further out than 1.3x the field of view
EPS2D = 0.3  # variance in pixels that every projected footprint is widened by
FAR = 1e10
QUAT_EPS = 1e-12  # a quaternion shorter than this counts as the identity
