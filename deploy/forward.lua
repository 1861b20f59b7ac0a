-- Orthanc: forward every radiograph that arrives to the node, and nothing that the node sends back.

local radiographs = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,     -- Computed Radiography
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true,   -- Digital X-Ray, for presentation
  ['1.2.840.10008.5.1.4.1.1.7'] = true,     -- Secondary Capture
}

function OnStoredInstance(instance, tags, metadata, origin)
  local ours = origin['RequestOrigin'] == 'DicomProtocol' and origin['RemoteAet'] == 'THORAX'
  if radiographs[tags['SOPClassUID']] and not ours then
    SendToModality(instance, 'thorax')
  end
end
