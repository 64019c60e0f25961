"""Read layers of a site with QGIS, run by the Python of Debian, and write what it found as JSON.

usage: qgis_reading.py LAYERS      LAYERS: JSON list of [provider, source, west, south, east, north]

For a raster: its frame, and the colours of the pixels of a picture of 36 x 18 at the northern, middle and southern row,
in the middle; for features: the frame, their number, and the box of the feature whose `granule_uid` is g0001.
"""

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (
    QgsApplication,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize

WIDTH, HEIGHT = 36, 18


def draw(layer, bounds):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(QgsRectangle(*bounds))
    settings.setOutputSize(QSize(WIDTH, HEIGHT))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    picture = job.renderedImage()
    return [picture.pixelColor(WIDTH // 2, row).getRgb()[:3] for row in (0, HEIGHT // 2, HEIGHT - 1)]


def read_layer(provider, source, bounds):
    if provider in ("wms", "wcs"):
        layer = QgsRasterLayer(source, "layer", provider)
        found = {"is_valid": layer.isValid(), "crs": layer.crs().authid()}
        return dict(found, colours=draw(layer, bounds)) if layer.isValid() else found
    layer = QgsVectorLayer(source, "layer", provider)
    found = {"is_valid": layer.isValid(), "crs": layer.crs().authid()}
    features = list(layer.getFeatures()) if layer.isValid() else []
    boxes = [one.geometry().boundingBox() for one in features if "g0001" in one.attributes()]
    boxes = [[box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()] for box in boxes]
    return dict(found, count=len(features), boxes=boxes)


application = QgsApplication([], False)
application.initQgis()
print(json.dumps([read_layer(provider, source, bounds) for provider, source, *bounds in json.loads(sys.argv[1])]))
application.exitQgis()
