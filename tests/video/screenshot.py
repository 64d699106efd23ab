"""Draws the picture of the camera's window in docs/, in three styles.

xvfb-run -a -s "-screen 0 1280x1024x24" python tests/video/screenshot.py OUT.jpg

What the camera sees is a window that moves over scikit-image's photo. Needs xdotool and
an OpenCV that has windows.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import skimage.data
from PIL import Image, ImageGrab

STYLES = 3  # the first, and those that the right arrow gives next
HEIGHT = 330  # px


def xdotool(*words):
    command = ["xdotool", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def clip(path):
    photo = skimage.data.astronaut()
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 400, 320, "yuv420p"
        for i in range(600):
            left = round(56 - 56 * np.cos(i / 20))
            window = np.ascontiguousarray(photo[:320, left : left + 400])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main(target):
    shots = []
    command = Path(__file__).parents[2] / "bin" / "stylize_camera"
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        clip(video)
        with subprocess.Popen([sys.executable, command, f"--file={video}"]) as camera:
            while not (found := xdotool("search", "--name", "jaxperceptual")):
                if camera.poll() is not None:
                    sys.exit("stylize_camera ended; it says why.")
                time.sleep(0.2)
            window = found[-1]
            xdotool("windowfocus", window)
            for i in range(STYLES):
                if i:
                    xdotool("key", "Right")
                time.sleep(4)
                numbers = xdotool("getwindowgeometry", "--shell", window)
                place = dict(number.split("=") for number in numbers)
                left, top, w, h = (int(place[k]) for k in ("X", "Y", "WIDTH", "HEIGHT"))
                shots.append(ImageGrab.grab((left, top, left + w, top + h)))
            xdotool("key", "q")
    width = round(HEIGHT * shots[0].width / shots[0].height)
    joined = Image.new("RGB", (STYLES * (width + 8) - 8, HEIGHT), "white")
    for i, shot in enumerate(shots):
        shot = shot.resize((width, HEIGHT), Image.Resampling.LANCZOS)
        joined.paste(shot, (i * (width + 8), 0))
    joined.save(target, quality=88)


if __name__ == "__main__":
    main(sys.argv[1])
