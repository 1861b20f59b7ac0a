// Results as DICOM objects for the study of an image, where the image is DICOM and the service can make them.

import { announce, byId, sentence } from "./dom.js";
import { save } from "./downloads.js";
import { dicomObjects } from "./service.js";

let offered = false;

/** Learn from the service's facts whether it makes DICOM objects. */
export function offerStudy(facts) {
  offered = facts.dicom;
}

/** Show the button for a case whose image has a study. */
export function showStudy(one) {
  byId("save-dicom").hidden = byId("dicom-hint").hidden = !offered || one.answer.image.format !== "DICOM";
  byId("dicom-failure").hidden = true;
}

/** Save the objects of the case that `inUse` returns. */
export function wireStudy(inUse) {
  byId("save-dicom").addEventListener("click", async () => {
    const one = inUse();
    const button = byId("save-dicom");
    button.disabled = true;
    announce("Making the DICOM objects.");
    try {
      const archive = await dicomObjects(one.file, one.model);
      save(archive, `${one.name.replace(/\.[^.]*$/, "")}-thorax-dicom.zip`, "application/zip");
      announce("The DICOM objects were saved.");
    } catch (failure) {
      byId("dicom-failure").textContent = sentence(failure.message);
      byId("dicom-failure").hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}
