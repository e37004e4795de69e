// 3D Gaussians in WebGL 2: each is a quad over its projected covariance (Zwicker et al. 2001),
// sorted from back to front whenever the view or the frame changes. World: +Z up.
const ROW = 13;
const FIELD = 0.7; // radians, vertical
const VERTEX = `#version 300 es
uniform mat4 view; uniform vec2 focal; uniform vec2 size;
in vec2 corner; in vec3 mean; in vec4 colour; in vec3 upper; in vec3 lower;
out vec2 at; out vec4 tint;
void main() {
  vec4 seen = view * vec4(mean, 1.0);
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  if (seen.z < 0.01) return;
  mat3 sigma = mat3(upper.x, upper.y, upper.z, upper.y, lower.x, lower.y, upper.z, lower.y, lower.z);
  mat3 turn = mat3(view);
  vec3 c = seen.xyz;
  mat3 slope = mat3(focal.x / c.z, 0.0, 0.0, 0.0, focal.y / c.z, 0.0,
    -focal.x * c.x / (c.z * c.z), -focal.y * c.y / (c.z * c.z), 0.0);
  mat3 t = slope * turn;
  mat3 flat_ = t * sigma * transpose(t);
  float a = flat_[0][0] + 0.3, b = flat_[0][1], d = flat_[1][1] + 0.3;
  float mid = 0.5 * (a + d), root = length(vec2(0.5 * (a - d), b));
  float first = mid + root, second = max(mid - root, 0.1);
  vec2 axis = abs(b) > 1e-6 ? normalize(vec2(b, first - a)) : vec2(a >= d ? 1.0 : 0.0, a >= d ? 0.0 : 1.0);
  vec2 offset = 3.0 * (corner.x * sqrt(first) * axis + corner.y * sqrt(second) * vec2(-axis.y, axis.x));
  vec2 pixel = focal * c.xy / c.z + offset;
  gl_Position = vec4(2.0 * pixel.x / size.x, -2.0 * pixel.y / size.y, 0.0, 1.0);
  at = 3.0 * corner; tint = colour;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at; in vec4 tint; out vec4 result;
void main() {
  float alpha = tint.a * exp(-0.5 * dot(at, at));
  if (alpha < 0.004) discard;
  result = vec4(tint.rgb * alpha, alpha);
}`;

export class Viewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
    this.azimuth = 0.5; this.elevation = 0.15; this.distance = 3; this.target = [0, 0, 0.4];
    this.count = 0;
    if (!this.gl) { canvas.title = "This browser has no WebGL 2."; return; }
    this.prepare();
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      this.azimuth -= event.movementX * 0.008;
      this.elevation = Math.max(-1.5, Math.min(1.5, this.elevation + event.movementY * 0.008));
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.distance *= Math.exp(event.deltaY * 0.001);
      this.draw();
    }, { passive: false });
  }

  prepare() {
    const gl = this.gl;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(this.program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    this.splats = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.splats);
    for (const [name, width, first] of [["mean", 3, 0], ["colour", 4, 3], ["upper", 3, 7], ["lower", 3, 10]]) {
      const place = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, width, gl.FLOAT, false, 4 * ROW, 4 * first);
      gl.vertexAttribDivisor(place, 1);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  // rows: Float32Array of count splats; frameIt looks at all of them
  show(rows, count, frameIt) {
    this.rows = rows;
    this.count = count;
    if (frameIt && count) this.frame();
    this.draw();
  }

  frame() {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < this.count; i++)
      for (let k = 0; k < 3; k++) {
        low[k] = Math.min(low[k], this.rows[i * ROW + k]);
        high[k] = Math.max(high[k], this.rows[i * ROW + k]);
      }
    this.target = low.map((value, k) => 0.5 * (value + high[k]));
    this.distance = 0.62 * Math.hypot(...low.map((value, k) => high[k] - value)) / Math.tan(FIELD / 2);
  }

  draw() {
    if (!this.gl || !this.count) return;
    const { gl, rows, count } = this;
    const [sa, ca, se, ce] = [Math.sin(this.azimuth), Math.cos(this.azimuth), Math.sin(this.elevation), Math.cos(this.elevation)];
    const right = [ca, sa, 0], ahead = [-sa * ce, ca * ce, -se];
    const down = [ahead[1] * right[2] - ahead[2] * right[1], ahead[2] * right[0] - ahead[0] * right[2], ahead[0] * right[1] - ahead[1] * right[0]];
    const eye = this.target.map((value, k) => value - this.distance * ahead[k]);
    const axes = [right, down, ahead];
    const shift = axes.map((axis) => -axis.reduce((sum, value, k) => sum + value * eye[k], 0));
    const view = new Float32Array(16);
    axes.forEach((axis, r) => axis.forEach((value, k) => { view[4 * k + r] = value; }));
    shift.forEach((value, r) => { view[12 + r] = value; });
    view[15] = 1;
    const depth = new Float32Array(count);
    for (let i = 0; i < count; i++)
      depth[i] = ahead[0] * rows[i * ROW] + ahead[1] * rows[i * ROW + 1] + ahead[2] * rows[i * ROW + 2];
    const order = new Uint32Array(count).map((_, i) => i).sort((i, j) => depth[j] - depth[i]);
    const sorted = new Float32Array(count * ROW);
    order.forEach((from, to) => sorted.set(rows.subarray(from * ROW, from * ROW + ROW), to * ROW));
    gl.bufferData(gl.ARRAY_BUFFER, sorted, gl.DYNAMIC_DRAW);
    const { width, height } = this.canvas;
    const focal = height / (2 * Math.tan(FIELD / 2));
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.16, 0.16, 0.18, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniformMatrix4fv(gl.getUniformLocation(this.program, "view"), false, view);
    gl.uniform2f(gl.getUniformLocation(this.program, "focal"), focal, focal);
    gl.uniform2f(gl.getUniformLocation(this.program, "size"), width, height);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
  }
}
