# SPDX-License-Identifier: GPL-3.0-or-later
"""True Gaussian splatting with Blender's gpu module: what is drawn (`Cloud`) and how (`Painter`).

EWA as in `restage4d.splatting`: the pinhole's Jacobian at the centre carries the covariance to the
image, 0.3 square pixels of blur are added, splats blend back to front in the video's own (sRGB)
values. One quad is drawn once per splat; the vertex shader looks the splat up through a texture
with the order by depth, so that a turned view costs one small upload. Only float textures and push
constants are used: the same shader on OpenGL, Vulkan and Metal.
"""

from typing import Any

import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from restage4d.puppet import F32
from restage4d.se3 import Array

# As in restage4d.splatting, which needs torch (a test compares them).
MAX_ALPHA, MIN_ALPHA, MAX_EXTENT, FOV_MARGIN = 0.999, 1.0 / 255.0, 3.33, 0.3
BLUR = 0.3  # eps2d, square pixels
NEAR = 0.01  # nearer centres are left out
_ROW = 512  # splats in a row of the data texture, 4 texels each
_ORDER_ROW = 2048

_VERTEX = f"""
void main() {{
  place = vec2(0.0);
  tint = vec4(0.0);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  ivec2 cell = ivec2(gl_InstanceID % {_ORDER_ROW}, gl_InstanceID / {_ORDER_ROW});
  int i = int(texelFetch(order, cell, 0).r + 0.5);
  ivec2 row = ivec2((i % {_ROW}) * 4, i / {_ROW});
  vec4 mean = texelFetch(splats, row, 0);
  vec4 q = texelFetch(splats, row + ivec2(1, 0), 0);
  vec3 scale = texelFetch(splats, row + ivec2(2, 0), 0).xyz;
  vec3 color = texelFetch(splats, row + ivec2(3, 0), 0).rgb;
  vec3 v = (view * vec4(mean.xyz, 1.0)).xyz;
  bool perspective = screen.w > 0.5;
  float w = perspective ? -v.z : 1.0;
  if (mean.w < {MIN_ALPHA} || (perspective && w < {NEAR})) {{
    return;
  }}
  vec2 centre = lens.xy * v.xy / w + lens.zw;
  vec2 focal = 0.5 * screen.xy * lens.xy / w;
  vec2 lean = vec2(0.0);
  if (perspective) {{
    vec2 low = (-1.0 - lens.zw - {FOV_MARGIN}) / lens.xy;
    vec2 high = (1.0 - lens.zw + {FOV_MARGIN}) / lens.xy;
    lean = clamp(v.xy / w, low, high);
  }}
  mat3 turn = mat3(
    1.0 - 2.0 * (q.z * q.z + q.w * q.w),
    2.0 * (q.y * q.z + q.x * q.w),
    2.0 * (q.y * q.w - q.x * q.z),
    2.0 * (q.y * q.z - q.x * q.w),
    1.0 - 2.0 * (q.y * q.y + q.w * q.w),
    2.0 * (q.z * q.w + q.x * q.y),
    2.0 * (q.y * q.w + q.x * q.z),
    2.0 * (q.z * q.w - q.x * q.y),
    1.0 - 2.0 * (q.y * q.y + q.z * q.z));
  mat3 axes = mat3(view) * turn;
  float A = {BLUR}, B = 0.0, C = {BLUR};
  for (int k = 0; k < 3; k++) {{
    vec2 p = scale[k] * focal * (axes[k].xy + lean * axes[k].z);
    A += p.x * p.x;
    B += p.x * p.y;
    C += p.y * p.y;
  }}
  float middle = 0.5 * (A + C), radius = length(vec2(0.5 * (A - C), B));
  vec2 along = A >= C ? vec2(1.0, 0.0) : vec2(0.0, 1.0);
  if (abs(B) > 1e-6 * middle) {{
    along = normalize(vec2(B, middle + radius - A));
  }}
  vec2 axis1 = along * sqrt(middle + radius);
  vec2 axis2 = vec2(-along.y, along.x) * sqrt(max(middle - radius, 0.5 * {BLUR}));
  place = corner * min({MAX_EXTENT}, sqrt(2.0 * log(mean.w / {MIN_ALPHA})));
  tint = vec4(color, mean.w);
  vec2 at = centre + (place.x * axis1 + place.y * axis2) * 2.0 / screen.xy;
  gl_Position = vec4(at * w, range.x * v.z + range.y, w);
}}
"""

_FRAGMENT = f"""
void main() {{
  float alpha = min({MAX_ALPHA}, tint.a * exp(-0.5 * dot(place, place)));
  if (alpha < {MIN_ALPHA}) {{
    discard;
  }}
  if (screen.z > 0.5 && gl_FragCoord.z > texelFetch(scene, ivec2(gl_FragCoord.xy), 0).r) {{
    discard;
  }}
  color = vec4(tint.rgb * alpha, alpha);
}}
"""

# The view's own framebuffer holds linear values. Overlays that cover a pixel (bones, outlines,
# text) stay in front of the splats.
_OVER_VERTEX = "void main() { gl_Position = vec4(corner, 0.0, 1.0); }"
_OVER_FRAGMENT = """
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 drawn = texelFetch(splats, at, 0);
  if (drawn.a <= 0.0) {
    discard;
  }
  vec3 c = max(drawn.rgb / drawn.a, vec3(0.0));
  vec3 dark = vec3(lessThan(c, vec3(0.04045)));
  vec3 linear = mix(pow((c + 0.055) / 1.055, vec3(2.4)), c / 12.92, dark);
  float shown = min(drawn.a, 1.0);
  if (keep > 0.5) {
    shown *= 1.0 - smoothstep(0.3, 0.9, texelFetch(overlays, at, 0).a);
  }
  color = vec4(linear * shown, shown);
}
"""


class Cloud:
    """Splats in the world, as the vertex shader reads them.

    Args:
        means, quats, scales, opacities: as `restage4d.puppet.Gaussians` has them.
        colors: (N, 3) the video's own values (sRGB).
    """

    def __init__(self, means: F32, quats: F32, scales: F32, opacities: F32, colors: F32) -> None:
        self.means = means
        n = len(means)
        table = np.zeros((-(-max(n, 1) // _ROW) * _ROW, 4, 4), np.float32)
        table[:n, 0, :3], table[:n, 0, 3] = means, opacities
        table[:n, 1], table[:n, 2, :3], table[:n, 3, :3] = quats, scales, colors
        self.texture = as_texture(table.reshape(-1, 4 * _ROW, 4), "RGBA32F")

    def order(self, view: Array) -> gpu.types.GPUTexture:  # (4, 4)
        """Texture with the splats' numbers, farthest first. Depths are sorted as 16-bit numbers, by
        numpy's radix sort."""
        n = len(self.means)
        depth = self.means @ view[2, :3].astype(np.float32)
        low, span = depth.min(initial=np.inf), np.ptp(depth) if n else 0.0
        key = ((depth - low) * (65535 / max(float(span), 1e-9))).astype(np.uint16)
        out = np.zeros(-(-max(n, 1) // _ORDER_ROW) * _ORDER_ROW, np.float32)
        out[:n] = np.argsort(key, kind="stable")
        return as_texture(out.reshape(-1, _ORDER_ROW), "R32F")


class Painter:
    """The two shaders, made once per GPU context."""

    def __init__(self) -> None:
        info = gpu.types.GPUShaderCreateInfo()
        for kind, name in (
            ("MAT4", "view"),
            ("VEC4", "lens"),
            ("VEC4", "screen"),
            ("VEC2", "range"),
        ):
            info.push_constant(kind, name)
        for slot, name in enumerate(("splats", "order", "scene")):
            info.sampler(slot, "FLOAT_2D", name)
        between = gpu.types.GPUStageInterfaceInfo("restage4d_splat")  # pyright: ignore[reportCallIssue]
        between.smooth("VEC2", "place")
        between.flat("VEC4", "tint")
        info.vertex_in(0, "VEC2", "corner")
        info.vertex_out(between)
        info.fragment_out(0, "VEC4", "color")
        info.vertex_source(_VERTEX)
        info.fragment_source(_FRAGMENT)
        self.splat = gpu.shader.create_from_info(info)
        info = gpu.types.GPUShaderCreateInfo()
        info.push_constant("FLOAT", "keep")
        for slot, name in enumerate(("splats", "overlays")):
            info.sampler(slot, "FLOAT_2D", name)
        info.vertex_in(0, "VEC2", "corner")
        info.fragment_out(0, "VEC4", "color")
        info.vertex_source(_OVER_VERTEX)
        info.fragment_source(_OVER_FRAGMENT)
        self.over = gpu.shader.create_from_info(info)
        corners, faces = [(-1, -1), (1, -1), (1, 1), (-1, 1)], [(0, 1, 2), (0, 2, 3)]
        self.quad = batch_for_shader(self.splat, "TRIS", {"corner": corners}, indices=faces)
        self.sheet = batch_for_shader(self.over, "TRIS", {"corner": corners}, indices=faces)
        self.nothing = as_texture(np.zeros((1, 4), np.float32), "R32F")

    def paint(
        self,
        target: gpu.types.GPUOffScreen,
        cloud: Cloud,
        order: gpu.types.GPUTexture,
        view: Array,
        projection: Array,
        scene: gpu.types.GPUTexture | None,
    ) -> None:
        """Splats into an offscreen buffer with premultiplied sRGB values.

        Args:
            view, projection: (4, 4) world to camera (-z forward) and Blender's projection,
                perspective or orthographic.
            scene: texture with the depth of what else is in the scene, the size of ``target``; None
                for nothing else.
        """
        import mathutils

        P = np.asarray(projection, np.float64)
        perspective = abs(P[3, 3]) < 0.5
        shift = -P[:2, 2] if perspective else P[:2, 3]
        with target.bind():  # pyright: ignore[reportGeneralTypeIssues]
            gpu.state.active_framebuffer_get().clear(color=(0.0, 0.0, 0.0, 0.0))  # pyright: ignore[reportCallIssue]
            gpu.state.blend_set("ALPHA_PREMULT")
            gpu.state.depth_test_set("NONE")
            gpu.state.depth_mask_set(False)
            self.splat.bind()
            matrix: Any = mathutils.Matrix(np.asarray(view, np.float64).tolist())
            self.splat.uniform_float("view", matrix)
            self.splat.uniform_float("lens", (P[0, 0], P[1, 1], *shift))
            self.splat.uniform_float(
                "screen", (target.width, target.height, scene is not None, perspective)
            )
            self.splat.uniform_float("range", (P[2, 2], P[2, 3]))
            self.splat.uniform_sampler("splats", cloud.texture)
            self.splat.uniform_sampler("order", order)
            self.splat.uniform_sampler("scene", scene or self.nothing)
            if len(cloud.means):
                self.quad.draw_instanced(self.splat, instance_count=len(cloud.means))
            gpu.state.blend_set("NONE")

    def lay_over(
        self, painted: gpu.types.GPUOffScreen, overlays: gpu.types.GPUTexture | None
    ) -> None:
        """What `paint` made, over the framebuffer that is bound; ``overlays`` is that framebuffer's
        colour until now."""
        gpu.state.blend_set("ALPHA_PREMULT")
        gpu.state.depth_test_set("NONE")
        gpu.state.depth_mask_set(False)
        self.over.bind()
        self.over.uniform_float("keep", float(overlays is not None))
        self.over.uniform_sampler("splats", painted.texture_color)
        self.over.uniform_sampler("overlays", overlays or self.nothing)
        self.sheet.draw(self.over)
        gpu.state.blend_set("NONE")


def render(
    cloud: Cloud, view: Array, projection: Array, width: int, height: int
) -> F32:  # (4, 4), (4, 4) -> (H, W, 4)
    """The splats alone, as the viewport draws them: premultiplied sRGB values and alpha, first row
    on top."""
    target = gpu.types.GPUOffScreen(width, height, format="RGBA16F")  # pyright: ignore[reportCallIssue]
    try:
        Painter().paint(target, cloud, cloud.order(view), view, projection, None)
        with target.bind():  # pyright: ignore[reportGeneralTypeIssues]
            pixels = gpu.state.active_framebuffer_get().read_color(  # pyright: ignore[reportCallIssue]
                0, 0, width, height, 4, 0, "FLOAT"
            )
        return read_buffer(pixels, width, height)[::-1]
    finally:
        target.free()


def as_texture(values: F32, kind: str) -> gpu.types.GPUTexture:  # (H, W) or (H, W, 4)
    """An array as a texture of one or four floats a texel, first row at the bottom."""
    pixels = np.ascontiguousarray(values, np.float32).ravel()
    buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels)  # pyright: ignore[reportCallIssue]
    return gpu.types.GPUTexture((values.shape[1], values.shape[0]), format=kind, data=buffer)  # pyright: ignore[reportCallIssue]


def read_buffer(buffer: Any, width: int, height: int) -> Any:  # -> (H, W, C)
    """What was read from a framebuffer, its first row at the bottom."""
    values = int(np.prod(buffer.dimensions))
    buffer.dimensions = values  # numpy is told wrong strides of several
    return np.array(buffer).reshape(height, width, values // (width * height))
