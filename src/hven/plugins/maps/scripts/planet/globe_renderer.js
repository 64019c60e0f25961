// Draws tiles on a sphere by WebGL: each tile is a grid of points, which the shader turns and projects.
import { RADIANS } from "./projections.js";
/** @import {TileBox} from "./tile_store.js" */
/** @import {MapPosition, PixelSize} from "./projections.js" */

/** @typedef {{picture: HTMLImageElement, left: number, top: number, share: number}} TilePicture */

const SEGMENTS = 48; // of the side of a tile
const MAX_TEXTURES = 300;

const VERTEX_SHADER = `
attribute vec2 point;
uniform vec4 box; // west of the middle, north, width, height: radians
uniform vec2 middle; // sine and cosine of the latitude of the middle
uniform vec2 factor;
uniform vec3 part;
varying vec2 place;
varying float depth;
void main() {
  float lon = box.x + point.x * box.z;
  float lat = box.y - point.y * box.w;
  vec3 seen = vec3(
    cos(lat) * sin(lon),
    middle.y * sin(lat) - middle.x * cos(lat) * cos(lon),
    middle.x * sin(lat) + middle.y * cos(lat) * cos(lon));
  depth = seen.z;
  place = part.xy + point * part.z;
  gl_Position = vec4(seen.xy * factor, 0.0, 1.0);
}`;
const FRAGMENT_SHADER = `
precision mediump float;
uniform sampler2D picture;
uniform float opacity;
varying vec2 place;
varying float depth;
void main() {
  if (depth < 0.0) discard;
  gl_FragColor = texture2D(picture, place) * opacity;
}`;

/** Draws a globe on a canvas. */
export class GlobeRenderer {
  /** @type {Map<HTMLImageElement, WebGLTexture>} */
  textures = new Map();

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    const gl = canvas.getContext("webgl", { premultipliedAlpha: true, antialias: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error("this browser has no WebGL");
    this.gl = gl;
    this.program = this.createProgram();
    gl.useProgram(this.program);
    this.createMesh();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
  }

  createProgram() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of /** @type {const} */ ([
      [gl.VERTEX_SHADER, VERTEX_SHADER],
      [gl.FRAGMENT_SHADER, FRAGMENT_SHADER],
    ])) {
      const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS))
      throw new Error(`the globe cannot be drawn: ${gl.getProgramInfoLog(program)}`);
    return program;
  }

  createMesh() {
    const { gl } = this;
    const points = [];
    const corners = [];
    for (let row = 0; row <= SEGMENTS; row++) {
      for (let column = 0; column <= SEGMENTS; column++) {
        points.push(column / SEGMENTS, row / SEGMENTS);
        if (row === SEGMENTS || column === SEGMENTS) continue;
        const corner = row * (SEGMENTS + 1) + column;
        const below = corner + SEGMENTS + 1;
        corners.push(corner, below, corner + 1, corner + 1, below, below + 1);
      }
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(points), gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint16Array(corners), gl.STATIC_DRAW);
    const location = gl.getAttribLocation(this.program, "point");
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, 2, gl.FLOAT, false, 0, 0);
    this.cornerCount = corners.length;
  }

  /**
   * Begin a picture.
   * @param {PixelSize} size
   * @param {number} ratio device pixels in a pixel
   * @param {MapPosition} position
   * @param {number} radius of the body, in metres
   */
  begin({ width, height }, ratio, { lon, lat, scale }, radius) {
    const { gl, program } = this;
    this.lon = lon;
    gl.viewport(0, 0, width * ratio, height * ratio);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(gl.getUniformLocation(program, "middle"), Math.sin(lat * RADIANS), Math.cos(lat * RADIANS));
    const pixels = (2 * radius) / scale;
    gl.uniform2f(gl.getUniformLocation(program, "factor"), pixels / width, pixels / height);
  }

  /**
   * Draw a tile.
   * @param {TileBox} box
   * @param {TilePicture} tilePicture
   * @param {number} opacity
   */
  drawTile(box, { picture, left, top, share }, opacity) {
    const { gl, program } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.getTexture(picture));
    const corners = [box.west - (this.lon ?? 0), box.north, box.width, box.height].map((value) => value * RADIANS);
    gl.uniform4f(gl.getUniformLocation(program, "box"), corners[0], corners[1], corners[2], corners[3]);
    gl.uniform3f(gl.getUniformLocation(program, "part"), left, top, share);
    gl.uniform1f(gl.getUniformLocation(program, "opacity"), opacity);
    gl.drawElements(gl.TRIANGLES, this.cornerCount ?? 0, gl.UNSIGNED_SHORT, 0);
  }

  /** @param {HTMLImageElement} picture */
  getTexture(picture) {
    const { gl, textures } = this;
    const cachedTexture = textures.get(picture);
    if (cachedTexture) return cachedTexture;
    if (textures.size >= MAX_TEXTURES) {
      const [[oldPicture, oldTexture]] = textures;
      gl.deleteTexture(oldTexture);
      textures.delete(oldPicture);
    }
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, wrap, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    textures.set(picture, texture);
    return texture;
  }

  close() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
