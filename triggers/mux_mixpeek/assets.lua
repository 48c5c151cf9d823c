-- What a Mux asset is to an index: what is said of it, and which file of it can be downloaded.

local STREAM = "https://stream.mux.com/"
local IMAGE = "https://image.mux.com/"

-- The names Mux gave to renditions first, then those it gives today, smallest first.
local RENDITIONS = {
  "low", "medium", "high", "highest", "capped-1080p",
  "270p", "360p", "480p", "540p", "720p", "1080p", "1440p", "2160p",
}
-- Bits a second of a file of which nothing is said but how long it plays.
local GUESSED_BITRATE = 2000000

--- Give all playback IDs, public ones first, then signed ones, and the first that a player can use.
local function playback_ids_of(asset)
  local public, signed, other = {}, {}, {}
  local lists = { public = public, signed = signed }
  for _, one in ipairs(asset.playback_ids or {}) do
    table.insert(lists[one.policy] or other, one.id)
  end
  local first = public[1] or signed[1]
  local ids = table.move(signed, 1, #signed, #public + 1, public)
  return table.move(other, 1, #other, #ids + 1, ids), first
end

--- Give the file that can be downloaded, of the first quality there is; nil without one.
local function rendition_of(asset)
  local renditions = asset.static_renditions or {}
  local ready = {}
  for _, file in ipairs(renditions.files or {}) do
    local quality = (file.name or ""):match("^(.+)%.mp4$")
    if quality and (file.status or renditions.status) == "ready" then
      ready[quality] = file
    end
  end
  for _, quality in ipairs(RENDITIONS) do
    if ready[quality] then
      return ready[quality]
    end
  end
  return nil
end

--- Say how many bytes a file has: as Mux says, else by its bitrate, else guessed.
local function size_of(asset, file)
  local said = number_of(file.filesize)
  if said then
    return said
  end
  return (asset.duration or 0) * (number_of(file.bitrate) or GUESSED_BITRATE) / 8
end

--- Give what is kept with an object, and comes back with every match of a retriever.
local function captured_of(asset)
  local ids, first = playback_ids_of(asset)
  return {
    asset_id = asset.id,
    playback_id = first,
    playback_ids = json.array(ids),
    playback_url = first and STREAM .. first .. ".m3u8",
    thumbnail_url = first and STREAM .. first .. "/thumbnail.jpg",
    -- Where Mux serves images from.
    image_url = first and IMAGE .. first .. "/thumbnail.jpg",
    duration = asset.duration,
    resolution_tier = asset.resolution_tier,
    status = asset.status,
    aspect_ratio = asset.aspect_ratio,
  }
end

--- Say why an asset is not indexed; else nil, and the file to download.
local function why_skipped(asset, captured, sync)
  if asset.status ~= "ready" then
    return "not_ready"
  end
  if not captured.playback_id then
    return "no_playback_id"
  end
  local file = rendition_of(asset)
  if not file then
    return "no_static_rendition"
  end
  local size = size_of(asset, file)
  if (sync.min_size_bytes and size < sync.min_size_bytes)
    or (sync.max_size_bytes and size > sync.max_size_bytes) then
    return "size"
  end
  if not matches(asset, captured, sync.metadata_filters) then
    return "metadata_filters"
  end
  return nil, file
end
