-- Objects at Mixpeek. Which assets are indexed is known there and nowhere else: the object of an
-- asset has the asset's own key.

local KEY = "/mux/"
local PAGE = 1000
-- All that is asked of an object: what is not sent is not on the tape.
local SELECT = json.array({ "key_prefix", "metadata" })

--- Give a function of an integration for one account.
local function calls_of(integration, account)
  return app.integrations[integration][account]
end

local function key_of(asset_id)
  return KEY .. asset_id
end

--- Call `visit` with each object of a bucket that a filter finds.
local function each_object(sync, condition, visit)
  local mixpeek = calls_of("mixpeek", sync.mixpeek_account)
  local cursor
  repeat
    local page = mixpeek.list_objects({
      bucket_id = sync.bucket_id,
      namespace = sync.namespace,
      filters = { AND = { condition }, case_sensitive = true },
      select = SELECT,
      limit = PAGE,
      cursor = cursor,
    })
    for _, object in ipairs(page.results) do
      visit(object)
    end
    cursor = page.pagination and page.pagination.next_cursor
  until not cursor
end

--- Give the objects of some assets, by the id of the asset.
local function objects_of(sync, asset_ids)
  local wanted, keys = {}, {}
  for index, asset_id in ipairs(asset_ids) do
    keys[index] = key_of(asset_id)
    wanted[keys[index]] = asset_id
  end
  local found = {}
  if #keys > 0 then
    each_object(sync, { field = "key_prefix", operator = "in", value = keys }, function(object)
      local asset_id = wanted[object.key_prefix]
      if asset_id then
        found[asset_id] = found[asset_id] or {}
        table.insert(found[asset_id], object)
      end
    end)
  end
  return found
end

--- Tell whether this sync made an object; what others made is theirs to take away.
local function is_own(sync, object)
  return object.metadata ~= nil and object.metadata.sync_config_id == sync.sync_config_id
end

--- Delete an object; tell whether it was there. Deleting twice does no harm.
local function delete_object(sync, object)
  local delete = calls_of("mixpeek", sync.mixpeek_account).delete_object
  local named = {
    bucket_id = sync.bucket_id, namespace = sync.namespace, object_id = object.object_id,
  }
  local ok, problem = pcall(delete, named)
  if not ok and problem.code == "effect_unknown" then
    ok, problem = pcall(delete, named)
    if not ok and problem.status == 404 then
      return true
    end
  end
  if ok then
    return true
  end
  if problem.status == 404 then
    return false
  end
  error(problem, 0)
end

--- Make the object of an asset. Nobody makes it again before it was looked for.
local function create_object(sync, captured, file)
  local url = "https://stream.mux.com/" .. captured.playback_id .. "/" .. file.name
  local ok, problem = pcall(calls_of("mixpeek", sync.mixpeek_account).create_object, {
    bucket_id = sync.bucket_id,
    namespace = sync.namespace,
    key_prefix = key_of(captured.asset_id),
    blobs = json.array({ { property = sync.blob_property, type = "video", data = url } }),
    source_metadata = captured,
    metadata = {
      source = "mux",
      connection_id = sync.connection_id,
      sync_config_id = sync.sync_config_id,
    },
    auto_process = sync.auto_process,
  })
  if ok then
    return true
  end
  if problem.code == "denied" then
    error(problem, 0)
  end
  if problem.code == "effect_unknown" then
    -- It may still be on its way; the next cycle looks again before it makes one.
    sleep(5)
    if objects_of(sync, { captured.asset_id })[captured.asset_id] then
      return true
    end
  end
  return false, problem
end
